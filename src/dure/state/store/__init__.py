"""Where blobs lie: in a folder or a bucket, compressed or not, sealed or plain.

Its modules:

    blobs     what a store is, and one in a folder
    s3blobs   one in a bucket
    sealing   how a blob lies: compressed, encrypted, or as it is
    verified  which files of blobs were hashed a moment ago
    threads   does one thing for many chunks, on several threads
"""
