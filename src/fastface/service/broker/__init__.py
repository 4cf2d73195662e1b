"""Jobs over many machines: Redis keeps them, Celery tells workers that there are some.

    jobs.lua        every change of a job, each at once
    redis_jobs.py   the interface of jobs over that
    celery_app.py   messages, and the worker that gets them

Needs the extra `broker`.
"""

from __future__ import annotations
