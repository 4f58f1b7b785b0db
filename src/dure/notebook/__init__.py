"""The notebook's side: `%%gpu` cells, the `%gpu` line and `@dure.gpu` functions. Nothing is imported before its use."""
