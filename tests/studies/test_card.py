"""What a Jupyter notebook shows of an object."""

from xml.etree import ElementTree

from metafa.studies.card import card


def test_nothing_in_a_card_is_markup() -> None:
    shown = ElementTree.fromstring(card("<b>a & b", {"x < y": "</table>", "steps": 3}))
    assert shown.findtext("strong") == "<b>a & b"
    assert [[cell.text for cell in row] for row in shown.iter("tr")] == [["x < y", "</table>"], ["steps", "3"]]
