"""Web Push as a host sees it: ``engine.webpush``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ent_notify.errors import MalformedDevice, NotFound, SettingsError
from ent_notify.model.people import DeviceRegistration, Provider
from ent_notify.model.webpush import read_subscription
from ent_notify.policy.webpush import KNOWN_HOSTS, read_endpoint
from ent_notify.settings import WebPushApp


class WebPush:
    """Checks browsers' subscriptions, and knows the key that pages subscribe with."""

    def __init__(self, sites: Mapping[str, WebPushApp]) -> None:
        self._sites = sites
        self._public: dict[str, str] = {}

    def public_key(self, app: str) -> str:
        """What a page gives to ``pushManager.subscribe`` as ``applicationServerKey``.

        Raises NotFound if the settings have no such site, SettingsError if its key cannot be used.
        """
        if app not in self._sites:
            raise NotFound(f"there is no [webpush.{app}] in the settings")
        if app not in self._public:
            try:
                from ent_notify.channels.webpush_keys import VapidKey
            except ImportError:
                raise SettingsError("Web Push needs its clients: pip install 'ent-notify[push]'") from None
            site = self._sites[app]
            self._public[app] = VapidKey("" if site.key is None else site.key.get_secret_value(), site.subject).public
        return self._public[app]

    def checked(self, provider: str, app: str, token: str) -> str:
        """The token to be kept: of a browser, its subscription in its one form; of other devices, as it is.

        Raises MalformedDevice for what is no subscription, or leads elsewhere than to a push service that
        ``webpush.APP.hosts`` lists.
        """
        if provider != Provider.WEBPUSH:
            return _text(token)
        subscription = read_subscription(token)
        site = self._sites.get(app)
        hosts, loopback = (KNOWN_HOSTS, False) if site is None else (site.hosts, site.loopback)
        endpoint = read_endpoint(subscription.endpoint, hosts, loopback=loopback)
        if isinstance(endpoint, str):
            raise MalformedDevice(f"the subscription's endpoint cannot be sent to: {endpoint}")
        try:
            from ent_notify.channels.webpush_keys import check_point
        except ImportError:
            pass  # registered here, sent by a worker that has the clients: it looks again
        else:
            check_point(subscription)
        return subscription.token

    def all_checked(self, devices: Iterable[DeviceRegistration]) -> Iterator[DeviceRegistration]:
        """The same of many, one after the other."""
        for device in devices:
            if device.provider == Provider.WEBPUSH:
                yield replace(device, token=self.checked(device.provider, device.app, device.token))
            else:
                _text(device.token)
                yield device


def _text(token: str) -> str:
    """``token``, if a database can keep it. Raises MalformedDevice."""
    if not _can_be_kept(token):
        raise MalformedDevice(
            "a push token is empty, or holds NUL or half a character; register what the provider gave, unchanged"
        )
    return token


def _can_be_kept(token: str) -> bool:
    if not token or "\0" in token:
        return False
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return True


def kept_token(provider: str, token: str) -> str | None:
    """The form in which a token is kept, for finding it; None for what nobody can have registered."""
    if provider != Provider.WEBPUSH:
        return token if _can_be_kept(token) else None
    try:
        return read_subscription(token).token
    except MalformedDevice:
        return None
