"""Files as their authors published them: found by name, named when they are missing."""

from dataclasses import dataclass

from .files import CLIPS, VERIFIERS, file_names, find, written

AUTO = "auto"


@dataclass(frozen=True)
class Published:
    """A file as its authors published it; page: where, in words (the site and its page there)."""

    name: str
    size: str
    licence: str
    page: str

    def __str__(self):
        return f"{self.name} ({self.size}, {self.licence}, {self.page})"


def resolve(who, folder, file, published):
    """The path of a listed file, or with "auto" of the first published one that is there. FileNotFoundError says what belongs where."""
    path = _find(folder, file, published)
    if path is None:
        asked = "finds none of its usual files" if file == AUTO else f"cannot find {file}"
        elsewhere = next(
            (
                f" (it is in models/{other}, whose files are for other verifiers)"
                for other in (VERIFIERS, CLIPS)
                if other != folder and find(other, file)
            ),
            "",
        )
        put = (
            f"Put one of these there, under this name: {'; '.join(map(str, published))}. "
            if published
            else ""
        )
        raise FileNotFoundError(
            f"{who} {asked} in ComfyUI/models/{folder}{elsewhere}. {put}There now: {', '.join(file_names(folder)) or 'nothing'}."
        )
    return path


def _find(folder, file, published):
    wanted = [known.name for known in published] if file == AUTO else [file]
    return next((found for found in (find(folder, name) for name in wanted) if found), None)


def stamp(*wanted):
    """What tells a cache that files have changed: for each (folder, file, published) its path and the time it was written, or that it is missing."""
    paths = [_find(*one) for one in wanted]
    return "; ".join(f"{path} {written(path)}" if path else "missing" for path in paths)
