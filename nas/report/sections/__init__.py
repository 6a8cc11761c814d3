"""The sections of the report, a file for each or for a family of them.

A section is a function of a `Report`: it reads the results that it shows, draws its figures, and fills in its template
with rows and verdicts. "" is a section that has nothing to show. `nas.report.page` knows their order.
"""
