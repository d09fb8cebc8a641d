"""What is in C: built where there is a compiler and Python.h, and left out where there is none. All else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Debits of limits; without it the same runs in Python (security/limits/chains.py).
        Extension(
            "security.limits._chains",
            ["security/limits/_chains.c"],
            extra_compile_args=["-O2", "-std=c11"],
            optional=True,
        ),
        # Records that come as their contracts say; without it specs/reading.py and specs/writing.py look at each member.
        Extension("specs._records", ["specs/_records.c"], extra_compile_args=["-O2", "-std=c11"], optional=True),
        # Heads of answers; without it gateway/answer.py writes each.
        Extension("gateway._answer", ["gateway/_answer.c"], extra_compile_args=["-O2", "-std=c11"], optional=True),
    ]
)
