"""Videos as jobs: who asks and who works are different processes.

    jobs.py       what a job is, and the interface that every keeper of jobs has
    embedded.py   the one that needs nothing installed: SQLite
    worker.py     a process per device that takes jobs and does them
    workers.py    starts those processes, and starts them again
    tasks/        what a worker does for a job of each kind: a video, a clip, a photograph
    place.py      where files are, and who may change them
    app.py        HTTP: the application; routes/ has its paths, schemas.py what they take and give
    galleries.py  people whom an owner knows; people.py those of a video

`import fastface` loads nothing of this.
"""

from __future__ import annotations
