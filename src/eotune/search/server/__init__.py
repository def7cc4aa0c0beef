"""The archive search as a web server: a JSON API, thumbnails, and a page."""
