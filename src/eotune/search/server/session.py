"""Who may ask: the token of a program's header, or the cookie that a browser gets for it."""

import base64
import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

COOKIE = "eotune_session"
LOGIN = "/login"

_STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{display:grid;place-content:center;min-height:90vh;margin:1rem}"
    "form{display:grid;gap:.75rem;width:min(20rem,100%)}h1{font-size:1.1rem;margin:0}"
    "input,button{font:inherit;padding:.5rem .75rem;border-radius:.5rem;border:1px solid #8888}"
    "button{background:#0b6b76;color:#fff;border:0;cursor:pointer}p{margin:0;color:#c33}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
LOGIN_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Session:
    """Compares what a client shows with the token, in constant time.

    Args:
        token: The secret; None lets everybody in.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()
        # The cookie does not hold the token, and ends with this process.
        self._cookie = secrets.token_urlsafe(32)

    @property
    def wanted(self) -> bool:
        """Whether a token is asked for at all."""
        return self._token is not None

    def admits(self, authorization: str, cookies: str) -> bool:
        """Return whether a request's headers show the token or its cookie."""
        if self._token is None:
            return True
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode("latin-1", "replace"), self._token):
            return True
        try:
            cookie = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._cookie.encode())

    def cookie_for(self, form: bytes, *, secure: bool) -> str | None:
        """Return the Set-Cookie header for the login form's body, or None where its token is wrong."""
        shown = parse_qs(form.decode("utf-8", "replace"), max_num_fields=4).get("token", [""])[0]
        if self._token is None or not hmac.compare_digest(shown.strip().encode(), self._token):
            return None
        return f"{COOKIE}={self._cookie}; HttpOnly; SameSite=Strict; Path=/" + ("; Secure" if secure else "")


def login_page(wrong: bool) -> str:
    """Return a page that asks for the token, and says nothing else."""
    note = '<p role="alert">That is not the token.</p>' if wrong else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Token</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f'<style>{_STYLE}</style><form method="post" action="{LOGIN}"><h1>This archive asks for its token</h1>'
        '<input name="token" type="password" autocomplete="current-password" aria-label="Token" required autofocus>'
        f"<button>Open</button>{note}</form></html>"
    )
