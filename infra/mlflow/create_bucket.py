"""Create the bucket named on the command line, unless it is there. Fails while the store does not answer."""

import os
import sys

# Installed in this image only.
import boto3
from botocore.exceptions import ClientError

bucket = sys.argv[1]
client = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
try:
    client.head_bucket(Bucket=bucket)
except ClientError as error:
    if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
        raise
    client.create_bucket(Bucket=bucket)
