"""Archives of pictures, answered into a folder of Parquet files by many processes or nodes."""
