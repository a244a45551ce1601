"""Laws of every store: of files in a folder beside SQLite, and of rows in PostgreSQL alone.

A subclass has a fixture ``place``, which makes stores of one place that is empty at first.
"""

from tests.support.store_laws.blobs import BlobLaws
from tests.support.store_laws.captures import CaptureLaws
from tests.support.store_laws.files import FileLaws
from tests.support.store_laws.keys import KeyLaws
from tests.support.store_laws.quotas import QuotaLaws
from tests.support.store_laws.transactions import TransactionLaws
from tests.support.store_laws.uploads import UploadLaws
from tests.support.store_laws.usage import UsageLaws


class StoreLaws(
    BlobLaws, CaptureLaws, FileLaws, KeyLaws, QuotaLaws, UploadLaws, TransactionLaws, UsageLaws
):
    """To be inherited."""
