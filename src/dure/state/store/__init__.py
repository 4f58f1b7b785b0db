"""Where blobs lie and how: in a folder or a bucket, sealed or plain, hashed a moment ago or not."""
