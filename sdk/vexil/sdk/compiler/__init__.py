"""The compiler: from the rules of a flag to one function of Python.

``writer`` and the forms (``forms``, ``choices``) write expressions, ``branches`` the statements around them,
``functions`` turns source into functions, ``compiler`` does it for a flag; ``runtime`` is what functions call.
``gates`` asks prerequisites.
"""
