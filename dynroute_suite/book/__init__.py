"""Builds the book from `results/` and the sources: no network, no GPU, no data, no training.

```
book/ (prose, configuration) ─────────┐
book/pages/*.py, row_pages ◀─ results/ ┼─▶ OUT/source ─▶ jupyter-book, warnings are errors ─▶ OUT/html ─▶ pdf
the sources that pages point to ───────┘
```

`python -m dynroute_suite.book` builds, `... serve` shows it, `... pdf` prints it. A build starts from an
empty folder: a page that an earlier one left behind could show a number that is no longer true. `--again` builds only
pages whose text changed, and refuses where anything else did.
"""
