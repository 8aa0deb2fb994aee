"""Generated street scenes: the data set that ships as code and needs no download."""
