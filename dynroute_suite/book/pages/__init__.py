"""Generated parts of the book's pages, a module for each chapter."""
