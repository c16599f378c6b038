"""One spelling of language codes: BCP-47, a language and perhaps a script, as `zh-Latn`."""

from functools import lru_cache

# What the registry of BCP-47 or CLDR replaced, and `nb`, which detectors report as `no`.
# https://www.iana.org/assignments/language-subtag-registry
_MODERN = {
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "jw": "jv",
    "kik": "ki",
    "mo": "ro",
    "nb": "no",
    "tl": "fil",
}


@lru_cache(maxsize=1_024)
def canonical(code: str) -> str:
    """Return the spelling that every detector here reports of a code.

    Args:
        code: A language and at most a script, in any case: `iw`, `NB` or `zh-latn`. What is no
            code is returned in this case as well.
    """
    language, dash, script = code.partition("-")
    language = language.lower()
    return f"{_MODERN.get(language, language)}{dash}{script.title()}"
