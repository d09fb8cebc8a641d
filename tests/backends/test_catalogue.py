"""How services are found in a module, and what they are called."""

import sys
from types import ModuleType

import pytest

from backends import Service
from backends.catalogue import Catalogue, deploy, deployed_from, describe, services_in
from specs.problems import ConfigurationError


def module_of(source, name="mq_services"):
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        exec("from gatewright import *\n" + source, vars(module))
    finally:
        del sys.modules[name]
    return module


def catalogue_of(source, name="mq_services"):
    return Catalogue(deployed_from(module_of(source, name)))


def test_a_service_without_a_name_has_its_modules_and_its_own_in_kebab_case():
    catalogue = catalogue_of("class MQSender(Service):\n    def handle(self): pass")
    assert catalogue.names() == ["mq_services.mq-sender"]
    assert catalogue.find("mq_services.mqsender") is catalogue.find("mq_services.mq-sender")
    assert "mq_services.mqsender" in catalogue


def test_an_empty_name_is_none():
    catalogue = catalogue_of("class MyService(Service):\n    name = ''\n    def handle(self): pass", "windows")
    assert catalogue.names() == ["windows.my-service"]


def test_a_name_is_not_inherited():
    catalogue = catalogue_of(
        "class A(Service):\n    name = 'a'\n    def handle(self): pass\nclass B(A):\n    def handle(self): pass", "m"
    )
    assert catalogue.names() == ["a", "m.b"]


def test_a_name_of_ones_own_has_no_alias():
    catalogue = catalogue_of("class MQSender(Service):\n    name = 'send'\n    def handle(self): pass")
    assert catalogue.find("mq_services.mqsender") is None


def test_what_a_module_imports_and_what_cannot_handle_is_no_service():
    module = module_of(
        "class Base(Service):\n    pass\n"
        "class Verb(Base):\n    def handle_GET(self): pass\n"
        "class Other: pass\nimported = Service\n"
    )
    assert [found.__name__ for found in services_in(module)] == ["Verb"]


def test_a_service_knows_its_name():
    [one] = deployed_from(module_of("class GetRate(Service):\n    def handle(self): pass", "linuxjournal"))
    assert one.service_class.name == "linuxjournal.get-rate"


def test_the_namespace_of_the_module_is_that_of_its_services_unless_they_say_another():
    catalogue = catalogue_of(
        "namespace = 'my.api.customer'\n"
        "class A(Service):\n    name = 'a'\n    def handle(self): pass\n"
        "class B(Service):\n    name = 'b'\n    namespace = 'other'\n    def handle(self): pass\n"
    )
    assert [catalogue.find(name).contract.namespace for name in "ab"] == ["my.api.customer", "other"]


def test_the_contract_holds_what_documents_and_channels_need():
    [one] = deployed_from(
        module_of(
            "class A(Service):\n"
            "    ''' Returns basic information about a customer.\n\n    More of it.\n    '''\n"
            "    name = 'a'\n    invokes = 'b'\n    deadline = '2m'\n    blocking = True\n"
            "    def handle_GET(self): pass\n    def handle_POST(self): pass\n"
        )
    )
    contract = one.contract
    assert (contract.summary, contract.invokes, contract.deadline, contract.blocking, contract.verbs) == (
        "Returns basic information about a customer.",
        ("b",),
        120.0,
        True,
        ("GET", "POST"),
    )


def test_two_services_of_one_name_are_refused_naming_both():
    one, other = (
        deployed_from(module_of(f"class {name}(Service):\n    name = 'x'\n    def handle(self): pass", name.lower()))
        for name in ("First", "Second")
    )
    with pytest.raises(ConfigurationError, match=r"'x': first\.First and second\.Second"):
        Catalogue([*one, *other])


def test_a_declaration_that_cannot_be_is_refused_naming_the_class():
    class Wrong(Service):
        name = "wrong"
        deadline = "soon"

        def handle(self):
            pass

    with pytest.raises(ConfigurationError, match=r"Wrong.*soon"):
        deploy(Wrong, describe(Wrong, module="m"))
