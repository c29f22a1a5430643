"""Settings: frozen, grouped, documented. From TOML and the environment; secrets never from TOML.

``load_settings()`` is what the command line calls; a host that keeps its own configuration calls ``settings_from()``.
Both raise ``SettingsError``, which names every setting that is unknown or wrong, and where it was read.
"""

from ent_notify.settings.alerts import HomeworkSettings, TimetableSettings
from ent_notify.settings.conversations import ConversationSettings
from ent_notify.settings.evidence import EvidenceSettings
from ent_notify.settings.groups import (
    ApiSettings,
    ApnsApp,
    BusSettings,
    DirectorySettings,
    EmailSettings,
    FcmApp,
    GatewaySettings,
    MailGroup,
    PauseSettings,
    ProjectSettings,
    RateSettings,
    Settings,
    StoreSettings,
    SyncSettings,
    WebPushApp,
    WorkerSettings,
)
from ent_notify.settings.load import CONFIG_NAME, CONFIG_VARIABLE, ENV_PREFIX, load_settings, settings_from
from ent_notify.settings.operator import OperatorSettings
from ent_notify.settings.reference import SettingRow, reference_page, setting_rows
from ent_notify.settings.retention import RetentionSettings, SchoolRetention
from ent_notify.settings.rights import RightsSettings
from ent_notify.settings.safety import SafetySettings
from ent_notify.settings.watching import LogSettings, MetricsSettings, PrivacySettings, TracingSettings

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "ENV_PREFIX",
    "ApiSettings",
    "ApnsApp",
    "BusSettings",
    "ConversationSettings",
    "DirectorySettings",
    "EmailSettings",
    "EvidenceSettings",
    "FcmApp",
    "GatewaySettings",
    "HomeworkSettings",
    "LogSettings",
    "MailGroup",
    "MetricsSettings",
    "OperatorSettings",
    "PauseSettings",
    "PrivacySettings",
    "ProjectSettings",
    "RateSettings",
    "RetentionSettings",
    "RightsSettings",
    "SafetySettings",
    "SchoolRetention",
    "SettingRow",
    "Settings",
    "StoreSettings",
    "SyncSettings",
    "TimetableSettings",
    "TracingSettings",
    "WebPushApp",
    "WorkerSettings",
    "load_settings",
    "reference_page",
    "setting_rows",
    "settings_from",
]
