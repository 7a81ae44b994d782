"""What the strategy guide decides about its own tables: what a copy of production holds, and what anybody may read."""

from __future__ import annotations

from fleet.data.decisions import TableDecision, read_table
from fleet.data.kinds import Kind

# the guide: the knowledge base whole, users without personal data, no conversations
_SANITISED = {
    "knowledge_items": "id title content source url status publication_date created_at updated_at",
    "knowledge_chunks": "id knowledge_item_id chunk_index chunk_text token_count embedding search_vector created_at",
    "feed_status": "id feed_url source status items_found consecutive_errors last_error last_checked_at"
    " last_success_at",
    "alembic_version": "version_num",
}
_USERS = {
    "id": "keep",
    "email": "mask:email",
    "hashed_password": "mask:hash",
    "full_name": "mask:name",
    "phone": "null",
    "address": "null",
    "is_active": "keep",
    "created_at": "keep",
}
COPIED: dict[str, TableDecision] = {
    **{name: read_table(dict.fromkeys(columns.split(), "keep")) for name, columns in _SANITISED.items()},
    "users": read_table(_USERS),
    "conversations": read_table("empty"),
    "messages": read_table("empty"),
}
# what authorities publish names their offices
_OFFICES = (Kind.EMAIL, Kind.PHONE, Kind.IBAN, Kind.VAT_NUMBER)
PUBLISHED: dict[str, tuple[Kind, ...]] = dict.fromkeys(
    (
        "knowledge_items.title",
        "knowledge_items.content",
        "knowledge_chunks.chunk_text",
        "knowledge_chunks.search_vector",
    ),
    _OFFICES,
)
