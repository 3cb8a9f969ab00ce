"""Folds the log into query tables: builds new generations, keeps live ones up to date."""
