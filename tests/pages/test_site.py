"""The built site: complete, readable without a network, dated.

Reads the folder named by BOOK_HTML, by default the one that `make test` builds.
"""

import os
import re
from importlib.metadata import version
from pathlib import Path

import build
import pytest
import yaml
from bs4 import BeautifulSoup

SITE = Path(os.environ.get("BOOK_HTML", build.BUILD / "test-html"))
FIRST = SITE / "index.html"  # holds nothing but the way to the preface
if not FIRST.exists():
    pytest.fail(f"{FIRST} is missing: `make test` builds the pages before it looks at them")

PAGES = [p for p in sorted(SITE.rglob("*.html")) if "_static" not in p.parts and p != FIRST]
CHAPTERS = [SITE / "book" / f"{name}.html" for name in build.names()]
REPOSITORY = yaml.safe_load((build.ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]

OTHER_HOST = re.compile(r"\s*(https?:)?//")
NOT_LOADED = {"author", "canonical", "index", "license", "next", "prev", "search"}
IN_STYLE = re.compile(r"(?:url\(|@import)\s*['\"]?([^'\")\s]+)")
IN_SCRIPT = re.compile(
    r"(?:\bfrom|\bimport|\bimport\(|\bimportScripts\(|\bfetch\(|\.src\s*=|_URL\s*=)"
    r"\s*['\"`]((?:https?:)?//[^'\"`]+)"
)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(SITE).as_posix())
every_chapter = pytest.mark.parametrize("page", CHAPTERS, ids=lambda p: p.stem)


def soup(page):
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


def loaded(html):
    """List the addresses that a browser fetches by itself; plain links are not among them."""
    found = [tag["src"] for tag in html.find_all(src=True)]
    found += [
        part.split()[0] for tag in html.find_all(srcset=True) for part in tag["srcset"].split(",")
    ]
    found += [tag["data"] for tag in html.find_all("object", data=True)]
    found += [
        tag["href"] for tag in html.find_all("link", href=True) if not NOT_LOADED & {*tag["rel"]}
    ]
    for tag in html.find_all(style=True):
        found += IN_STYLE.findall(tag["style"])
    for tag in html.find_all("style"):
        found += IN_STYLE.findall(tag.get_text())
    for tag in html.find_all("script", src=False):
        found += IN_SCRIPT.findall(tag.get_text())
    return found


def foreign(addresses):
    return [address for address in addresses if OTHER_HOST.match(address)]


def missing(page, addresses):
    local = [a for a in addresses if not re.match(r"[a-z]+:|\s*//|#|$", a)]
    return [a for a in local if not (page.parent / re.split("[?#]", a)[0]).exists()]


@pytest.mark.parametrize(
    "html",
    [
        "<script src='https://a.b/c.js'></script>",
        "<link rel='stylesheet' href='//a.b/c.css'>",
        "<img srcset='x.png 1x, https://a.b/x.png 2x'>",
        "<p style='background: url(https://a.b/x.png)'></p>",
        "<style>@import 'https://a.b/c.css';</style>",
        "<script>const LIBRARY_URL = 'https://a.b/c.js'</script>",
        "<script type='module'>import x from 'https://a.b/c.js'</script>",
    ],
)
def test_a_request_to_another_host_would_be_seen(html):
    assert foreign(loaded(BeautifulSoup(html, "html.parser")))


@every_page
def test_page_asks_no_other_host(page):
    assert foreign(loaded(soup(page))) == []


def test_styles_and_scripts_ask_no_other_host():
    styles = "\n".join(path.read_text("utf-8") for path in SITE.rglob("*.css"))
    scripts = "\n".join(path.read_text("utf-8") for path in SITE.rglob("*.js"))
    assert foreign(IN_STYLE.findall(styles) + IN_SCRIPT.findall(scripts)) == []


@every_page
def test_what_a_page_loads_and_links_to_is_there(page):
    html = soup(page)
    assert (
        missing(page, loaded(html) + [tag["href"] for tag in html.find_all("a", href=True)]) == []
    )


@every_page
def test_page_shows_version_and_date(page):
    colophon = soup(page).find(class_="colophon").get_text()
    assert f"version {version('scbtheory')}," in colophon
    assert re.search(r"built on \d{4}-\d\d-\d\d", colophon)


@every_chapter
def test_page_of_the_table_of_contents_exists(page):
    assert page.exists()


@every_chapter
def test_figures_have_description_and_caption(page):
    for image in soup(page).find("article").find_all("img"):
        alt, figure = image.get("alt", ""), image.find_parent("figure")
        caption = figure and figure.find("figcaption")
        where = f"the figure {image['src']}"
        assert len(alt.split()) > 2, f"{where} needs `mystnb: image: alt:`, has {alt!r}"
        assert caption and caption.get_text(strip=True), f"{where} needs `mystnb: figure: caption:`"


@every_chapter
def test_notebook_can_be_downloaded(page):
    links = [tag["href"] for tag in soup(page).find_all("a", href=re.compile(r"\.ipynb$"))]
    assert f"../_sources/book/{page.stem}.ipynb" in links and missing(page, links) == []


@every_chapter
def test_buttons_lead_to_the_repository_or_do_not_exist(page):
    links = [tag["href"] for tag in soup(page).select(".article-header-buttons a[href]")]
    outward = foreign(links)
    if REPOSITORY:
        owner_and_name = "/".join(REPOSITORY.rstrip("/").split("/")[-2:])
        assert outward and all(owner_and_name in address for address in outward)
    else:
        assert outward == []


@every_page
def test_no_address_is_left_from_the_default_settings(page):
    assert "github.com/executablebooks" not in page.read_text("utf-8")


def test_search_knows_the_chapters():
    index = (SITE / "searchindex.js").read_text("utf-8")
    assert [page.stem for page in CHAPTERS if f'"book/{page.stem}"' not in index] == []
