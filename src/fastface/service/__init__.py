"""Videos as jobs: who asks and who works are different processes.

    jobs.py       what a job is, and the interface that every keeper of jobs has
    embedded.py   the one that needs nothing installed: SQLite
    worker.py     a process per device that takes jobs and does them
    workers.py    starts those processes, and starts them again
    app.py        HTTP: the application; routes/ has its paths, schemas.py what they take and give

`import fastface` loads nothing of this.
"""

from __future__ import annotations
