"""From what a person names to pieces of history (processor/history/pieces.py).

Files, directories, patterns and pipes, of lines or of Parquet: all that is named is looked at
before anything of it is read.
"""
