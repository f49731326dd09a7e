"""Comparisons that refuse to lie: what needs no knowledge of the lab. See SCHEMA.md.

result      the file: everything that was measured, and what became of it
reading     a file's JSON into dataclasses, or what is wrong with it, by field
"""
