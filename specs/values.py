"""Values of a contract: the face of `specs.records`, `specs.reading` and `specs.writing`."""

from specs.reading import Reader, compile_input
from specs.records import OutputRecord, Record
from specs.writing import Writer, compile_output, to_json_values

__all__ = [
    "OutputRecord", "Reader", "Record", "Writer", "compile_input", "compile_output", "to_json_values",
]  # fmt: skip
