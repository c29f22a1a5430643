"""The vocabulary of an AAF export: which attributes are read, which are left out on purpose, and what codes mean.

Source: the SDET annex "annuaire académique fédérateur" and the exports that follow it. An attribute that is in no
table here is unknown: it is ignored and counted.
"""

from __future__ import annotations

from enum import StrEnum

from ent_notify.model.people import Profile


class Category(StrEnum):
    """The kinds of record that are imported, in the order that makes references resolvable."""

    SCHOOL = "EtabEducNat"
    GUARDIAN = "PersRelEleve"
    STAFF = "PersEducNat"
    PUPIL = "Eleve"


READ: dict[Category, frozenset[str]] = {
    Category.SCHOOL: frozenset(
        {
            "ENTStructureJointure",
            "ENTStructureUAI",
            "ENTEtablissementUAI",
            "ENTStructureNomCourant",
            "ENTStructureClasses",
            "ENTStructureGroupes",
        }
    ),
    Category.GUARDIAN: frozenset({"ENTPersonJointure", "sn", "givenName", "mail"}),
    Category.STAFF: frozenset(
        {
            "ENTPersonJointure",
            "sn",
            "givenName",
            "mail",
            "ENTPersonStructRattach",
            "ENTPersonFonctions",
            "PersEducNatPresenceDevantEleves",
            "ENTAuxEnsClasses",
            "ENTAuxEnsClassesMatieres",
            "ENTAuxEnsGroupes",
            "ENTAuxEnsGroupesMatieres",
        }
    ),
    Category.PUPIL: frozenset(
        {
            "ENTPersonJointure",
            "sn",
            "givenName",
            "mail",
            "ENTPersonStructRattach",
            "ENTEleveClasses",
            "ENTEleveGroupes",
            "ENTElevePersRelEleve",
        }
    ),
}
"""What is read of each category."""

NOT_STORED = frozenset(
    {
        "ENTPersonDateNaissance",
        "ENTPersonNomPatro",
        "ENTPersonAutresPrenoms",
        "ENTPersonSexe",
        "ENTPersonCodePostal",
        "ENTPersonAdresse",
        "ENTPersonVille",
        "ENTPersonPays",
        "ENTPersonAdresseDiffusion",
        "ENTPersonMobileSMS",
        "ENTPersonDateSortie",
        "ENTPersonCentresInteret",
        "ENTPersonAlias",
        "ENTPersonNationalProfil",
        "personalTitle",
        "homePhone",
        "telephoneNumber",
        "mobile",
        "facsimileTelephoneNumber",
        "postalAddress",
        "street",
        "postOfficeBox",
        "postalCode",
        "l",
        "ENTEleveINE",
        "ENTEleveStatutEleve",
        "ENTEleveMEF",
        "ENTEleveLibelleMEF",
        "ENTEleveNivFormation",
        "ENTEleveNivFormationDiplome",
        "ENTEleveFiliere",
        "ENTEleveEnseignements",
        "ENTEleveCodeEnseignements",
        "ENTEleveSpecialite",
        "ENTEleveBoursier",
        "ENTEleveRegime",
        "ENTEleveTransport",
        "ENTEleveMajeur",
        "ENTEleveMajeurAnticipe",
        "ENTEleveVilleNaiss",
        "ENTEleveDeptNaiss",
        "ENTElevePaysNaiss",
        "ENTEleveParents",
        "ENTElevePere",
        "ENTEleveMere",
        "ENTEleveAutoriteParentale",
        "ENTElevePersRelEleve1",
        "ENTElevePersRelEleve2",
        "ENTEleveQualitePersRelEleve1",
        "ENTEleveQualitePersRelEleve2",
        "ENTEleveStructRattachId",
        "ENTEleveDelegClasse",
        "ENTAuxEnsClassesPrincipal",
        "ENTAuxEnsCategoDiscipline",
        "ENTAuxEnsDisciplinesPoste",
        "ENTAuxEnsMEF",
        "ENTAuxEnsMatiereEnseignEtab",
        "ENTEnsFonctionDir",
        "PersEducNatTitre",
        "PersEducNatProfession",
        "ENTPersRelEleveCSP",
        "ENTPersRelEleveProfession",
        "ENTStructureSIREN",
        "ENTStructureEmail",
        "ENTStructureSiteWeb",
        "ENTStructureTypeStruct",
        "ENTStructureContactENT",
        "ENTStructureJoursOuverture",
        "ENTEtablissementMinistereTutelle",
        "ENTEtablissementContrat",
        "ENTEtablissementStructRattachFctl",
        "ENTEtablissementBassin",
        "ENTServAcAcademie",
    }
)
"""Known, and left out on purpose (data minimisation): nothing here is needed to bring somebody a notification."""

FUNCTIONS: dict[str, Profile] = {
    "DIR": Profile.STAFF,  # head, deputy head
    "ENS": Profile.TEACHER,
    "DOC": Profile.TEACHER,  # librarian teacher
    "EDU": Profile.STAFF,  # conseiller principal d'éducation
    "ADF": Profile.STAFF,  # bursar and administration
    "ORI": Profile.STAFF,  # orientation counsellor
    "CFC": Profile.STAFF,  # adult training
    "CTR": Profile.STAFF,  # works supervisor
    "MDS": Profile.STAFF,  # nurse, doctor, social worker
    "ASE": Profile.STAFF,  # school assistant
    "AED": Profile.STAFF,  # education assistant
    "SUR": Profile.STAFF,  # supervisor
    "AES": Profile.STAFF,  # support for pupils with a disability
    "LAB": Profile.STAFF,  # laboratory
    "ALB": Profile.STAFF,  # laboratory
    "ACP": Profile.STAFF,  # apprenticeship
    "OUV": Profile.STAFF,  # maintenance
    "TEC": Profile.STAFF,  # technician
}
"""What a function code makes of somebody. With several functions the first of this table leads: a head who also
teaches is staff. A code that is not here is staff, after all of these."""

LEGAL_LEVELS = {"1": 1, "2": 2, "0": 0}
"""Fourth field of ``ENTElevePersRelEleve``; anything else is a contact only, and is reported."""

OVERSEAS = {
    "971": "America/Guadeloupe",
    "972": "America/Martinique",
    "973": "America/Cayenne",
    "974": "Indian/Reunion",
    "976": "Indian/Mayotte",
}
"""Time zone by the first three characters of a UAI (the department), where it is not Paris time."""


def leading_function(codes: list[str]) -> str:
    """The code that leads among ``codes`` (not empty): the first in FUNCTIONS, else the first of the alphabet."""
    for code in FUNCTIONS:
        if code in codes:
            return code
    return min(codes)
