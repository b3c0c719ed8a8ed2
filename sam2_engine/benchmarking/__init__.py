"""How fast this machine is with this package: cases, clocks, peaks of the machine, what is said about them.

Modules: `timing` (works in turns, medians, ratios) · `operations` (counts) · `machine`, `peaks` (what there is, what it
can do) · `variants`, `contender`, `engine` (who is measured) · `cases` (what of) · `agreement` (whether results hold) ·
`starting`, `footprint`, `child` (processes of their own) · `report`. See docs/benchmarks.md.
"""
