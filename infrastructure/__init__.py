"""How a store is kept and asked: what each folder is for stands in its own first line."""
