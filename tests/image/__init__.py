"""The image without Docker: the steps of the Dockerfile, run in a clean Debian root (`make image-check`).

debootstrap stands in for the base image: Debian 12 and its Python 3.11, where the image has Python 3.13.
"""
