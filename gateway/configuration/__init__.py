"""The configuration document: read, checked, kept as numbered revisions, written out again.

loader.py       YAML text -> plain values, with lines and columns
writer.py       plain values -> YAML text that reads back as the same values
parts.py        types that several kinds of objects share: paths, addresses, requirements, API keys
kinds.py        the kinds of objects, and the settings of each
document.py     a whole document: what is wrong with it, what is doubtful
sealing.py      references resolved, secrets boxed, passwords hashed; and back
preparation.py  a document made ready to be compared and stored
changes.py      what differs between two states, as people read it
objects.py      one revision, read: what snapshots are compiled from
store.py        revisions in the database: apply, diff, dump, history, roll back
schema.py       JSON Schema of the document
"""
