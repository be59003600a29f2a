"""The commands of ``stamp-train``, one file each: they parse, call one function and print one result."""
