"""Small lists that invented people are named from: common French given names, family names that nobody bears."""

from __future__ import annotations

GIVEN_NAMES = (
    "Adèle", "Agathe", "Aïcha", "Alexandre", "Alice", "Alix", "Anaïs", "André", "Antoine", "Arthur", "Aurélie",
    "Baptiste", "Béatrice", "Benoît", "Camille", "Céline", "Chloé", "Clément", "Constance", "Damien", "Delphine",
    "Éléonore", "Élise", "Emma", "Étienne", "Fatima", "Félix", "Florent", "François", "Gabriel", "Geneviève", "Hélène",
    "Hugo", "Inès", "Irène", "Jade", "Jérôme", "Joël", "Jules", "Karim", "Laëtitia", "Léa", "Léo", "Lina", "Louise",
    "Lucas", "Maëlle", "Manon", "Marc", "Mathéo", "Mehdi", "Mélanie", "Nadia", "Nathan", "Noé", "Océane", "Olivier",
    "Pascal", "Pauline", "Quentin", "Rachel", "Rémi", "Romane", "Salomé", "Samir", "Sébastien", "Sofia", "Théo",
    "Valérie", "Victor", "Violette", "Yasmine", "Yohan", "Zoé",
)  # fmt: skip

_BEGINNINGS = (
    "Aubre", "Belle", "Bruyè", "Cendre", "Chante", "Clair", "Courte", "Draven", "Fauve", "Ferme", "Gerbe", "Haute",
    "Jonque", "Lande", "Loupe", "Marte", "Morte", "Noise", "Œuvre", "Orme", "Perce", "Quatre", "Rive", "Roche", "Saule",
    "Tourne", "Val", "Verte", "Vigne", "Yvre",
)  # fmt: skip
_ENDINGS = (
    "bois", "brune", "champ", "chaume", "combe", "côte", "épine", "ferrand", "fosse", "gué", "lac", "lune", "marais",
    "mont", "noue", "pierre", "pré", "rieux", "sente", "source", "terre", "val", "vallon", "vent", "voile",
)  # fmt: skip
FAMILY_NAMES = tuple(beginning + ending for beginning in _BEGINNINGS for ending in _ENDINGS)

MAIL_DOMAINS = (
    "gmail.example", "gmail.example", "gmail.example", "gmail.example", "orange.example", "orange.example",
    "hotmail.example", "hotmail.example", "free.example", "laposte.example", "sfr.example", "example.org",
    "example.net",
)  # fmt: skip
"""Reserved names only (RFC 2606): mail to them can reach nobody. The large providers come up more often."""

TOWNS = ("Aubreval", "Clairvent", "Hautecombe", "Landepierre", "Ormeval", "Rivemont", "Saulepré", "Vertefosse")
