"""Runs a row's notebook in a process of its own and says how it ended. One row at a time; papermill stays in the child.

```
reproduce.py ─▶ row.run_row ─▶ supervisor.execute ─▶ child (papermill) ─▶ kernel: row.ipynb ─▶ pipeline.run
                    ▲                │    ◀── progress, failure (messages) ───┘
               record.json   document.normalise ─▶ row.ipynb or failed.ipynb
```

Why three processes: papermill changes the working directory and reports success for kernels that died, so what it says
about a run is not believed; a run is done when the child left with 0 *and* the folder holds a record with the planned
key. Nothing here can change a number, so nothing here enters a run's key.
"""

from dynroute_suite.notebook.progress import reporter as reporter
