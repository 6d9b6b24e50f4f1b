"""The routes of the HTTP API, a file for each group of them.

GET /recommend has a short way past its route: `serving/front.py`.
"""
