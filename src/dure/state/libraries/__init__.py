"""What objects of single libraries need beyond their own way of being pickled."""
