"""CliMetLab datasets behind an unchanged `cml.load_dataset(...)`."""
