"""A grammar of patches of the kind that coding agents send, written for these tests."""

PATCH_GRAMMAR = r"""
start: "*** Begin Patch" NL section+ "*** End Patch" NL?
section: added | removed | edited
added: "*** Add File: " PATH NL ("+" TEXT NL)+
removed: "*** Delete File: " PATH NL
edited: "*** Update File: " PATH NL renamed? block+ last?
renamed: "*** Move to: " PATH NL
block: "@@" place? NL line+
place: " " PATH
line: ("+" | "-" | " ") TEXT NL
last: "*** End of File" NL
PATH: /[^\n]+/
TEXT: /[^\n]*/
NL: "\n"
"""
"""An edited file has blocks that begin with @@, and may say where; common to all is that every line
has a mark before it."""
