"""Reports: what was measured, as tables to read with anything and as a page to read without anything.

A page is one HTML file with everything in it. It opens from a folder, a mail or a shelf without a connection.
"""

from __future__ import annotations
