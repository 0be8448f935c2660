"""Reading and writing XML that strangers send: bounded, and deaf to what XML can be asked to fetch or to repeat.

No DTD, no entities, no network. Element names are compared without their prefix, by namespace and local name, in the
notation of ElementTree: `{namespace}name`.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT_SIZE", "MalformedDocument", "encode_document", "make_element", "parse_document"]

MAX_DOCUMENT_SIZE: Final = 1024 * 1024
MAX_DEPTH: Final = 64


class MalformedDocument(ValueError):
    """The bytes are no XML that we read; the text says why."""


def parse_document(data: bytes, root: str, *, max_size: int = MAX_DOCUMENT_SIZE) -> Any:
    """The root element, which has to be `{namespace}name`. Raises MalformedDocument and nothing else."""
    from lxml import etree

    if len(data) > max_size:
        raise MalformedDocument(f"a document of {len(data)} bytes; at most {max_size} are read")
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        element = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedDocument(f"no well-formed XML: {error}") from error
    if element.getroottree().docinfo.doctype or element.getroottree().docinfo.internalDTD is not None:
        raise MalformedDocument("a document type is declared, which we do not read")
    if element.tag != root:
        raise MalformedDocument(f"the root element is {str(element.tag)[:80]}, not {root}")
    _check_depth(element)
    return element


def make_element(tag: str, text: str | None = None, *, namespaces: dict[str | None, str] | None = None) -> Any:
    """A new element; raises ValueError for text that XML cannot hold, such as control characters."""
    from lxml import etree

    element = etree.Element(tag, nsmap=namespaces)
    element.text = text
    return element


def encode_document(root: Any) -> bytes:
    """The document as UTF-8, with its declaration."""
    from lxml import etree

    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def _check_depth(root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element]
        if not level:
            return
    raise MalformedDocument(f"elements are nested more than {MAX_DEPTH} deep")
