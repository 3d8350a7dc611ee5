"""The documentation: pages, and the program that generates its reference from the code."""
