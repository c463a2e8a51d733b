"""What goes wrong with CliMetLab 0.24's cache and mirrors, and the test that it does not here.

killed in mid-download                          test_a_killed_download_goes_on_where_it_was
killed before the last rename: wedged           test_a_download_that_was_all_there_needs_no_server
resumed after the file changed: mixed           test_a_file_that_was_replaced_is_never_mixed
200 to a range: wedged                          test_a_server_that_stops_to_give_ranges_gives_the_whole_file
connection drops: the user's error              test_a_connection_that_drops_is_made_again, test_a_stream_that_drops_begins_again
5xx, 429: 500 tries, 120 s apart                test_a_busy_server_is_asked_again_when_it_wants_to_be, test_patience.py
cached file cut or damaged: served              test_a_file_that_was_overwritten_is_not_used, test_health.py
several processes, one URL                      test_processes_that_want_the_same_file_download_it_once
6 processes x 5 threads x 240 URLs: locked      test_six_processes_of_five_threads_fetch_240_files_once
eviction of what is open                        test_what_is_held_stays, test_what_another_process_holds_stays_until_it_is_killed
limit below one file                            test_a_file_that_never_fits_is_refused_and_nothing_goes_for_it
a disk that others fill empties the cache       test_nothing_goes_in_vain, test_a_minimum_stays_free_on_the_disk
disk full: partial and lock stay                test_a_full_disk_is_one_line_and_room_mends_it, test_a_disk_that_fills_up_under_way_is_one_line_too
offline, cached: hangs                          test_offline_all_that_is_missing_is_told_at_once, test_a_server_that_is_gone_changes_nothing
offline, name misspelled: hangs                 test_a_misspelled_dataset_is_told_at_once_with_what_it_may_be
two users, folder open to both                  test_two_users_share_a_folder_that_both_may_write, test_a_group_shares_a_folder_of_its_own
two users, folder read-only: no next tier       test_a_cache_that_may_only_be_read_is_read_and_the_next_is_written
one user killed, the other shut out             test_a_user_goes_on_with_what_another_was_killed_at
mirror: query dropped                           test_a_query_is_another_file
mirror: damaged or cut file served              test_a_mirror_that_was_copied_without_its_times_is_read_before_it_is_used
mirror: the last one asked hides the others     test_mirrors_are_asked_first_and_in_order
mirror: filled by three at once: wedged         tests/plugins/test_mirror.py: test_three_processes_fill_a_mirror_at_once
settings of the user rewritten                  tests/plugins/test_names.py: test_importing_datasets_writes_no_settings
"""
