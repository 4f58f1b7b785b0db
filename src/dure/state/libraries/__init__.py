"""What single libraries need: their objects, beyond their own way of being pickled, and what is set in them.

Its modules:

    frames      pandas: blocks keep knowing who shares their memory
    tensors     torch: tensors share storages
    figures     matplotlib: figures pickle to the same bytes as long as they are the same
    others      patsy, plotly, statsmodels, pint, Arrow, JAX
    settings    options of libraries that are no variables: `sns.set_theme()`, `sys.path`, warnings
    registered  what cells registered with libraries, or set on their classes and modules
"""
