"""Independent SOAP clients against a running gateway: each calls with every kind of value, is refused, and logs in."""

import base64
import datetime
import decimal
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
import zeep
import zeep.exceptions
import zeep.transports
from soap_endpoint import ENVIRONMENT, PARTNER

CLIENTS = Path(__file__).parent / "soap_clients"
TEXT = "Zażółć gęślą 日本 😀 & <b>"
SCAN = bytes(range(256))
RECEIVED = (
    "number=int;customer=str;urgent=bool;segment=str;day=date;made_at=datetime;total=Decimal;weight=float;scan=bytes;"
    "tags=list;address=Record;lines=list;note=NoneType;more=list"
)


@pytest.fixture
def served(soap_gateway):
    return soap_gateway


def missing(program, package):
    if shutil.which(program) is None:
        pytest.skip(f"server missing: {program} (apt-get install {package})")


def order():
    return {
        "number": 9_007_199_254_740_993,
        "customer": TEXT,
        "urgent": True,
        "segment": "gold",
        "day": datetime.date(2026, 1, 31),
        "made_at": datetime.datetime(2026, 1, 31, 12, 30, 15, tzinfo=datetime.UTC),
        "total": decimal.Decimal("1234567890123456789.10"),
        "weight": 0.1,
        "scan": SCAN,
        "tags": ["a", "", "ż"],
        "address": {"street": "Main & 1st", "geo": {"lat": 52.25, "lon": -1.5}},
        "lines": [
            {"number": 1, "item": "book", "price": decimal.Decimal("1.50")},
            {"number": 2, "item": "pen", "price": decimal.Decimal("0.10")},
        ],
        "note": None,
        "more": [7],
    }


def zeep_client(url, version, name="Orders", credentials=None):
    session = requests.Session()
    session.auth = credentials
    return zeep.Client(
        f"{url}?wsdl", port_name=f"{name}Soap{version}", service_name=f"{name}Service",
        transport=zeep.transports.Transport(session=session),
    )  # fmt: skip


@pytest.mark.parametrize("version", ["11", "12"])
class TestZeep:
    def test_every_kind_of_value_comes_back_as_it_was_sent(self, served, version):
        client = zeep_client(served.url + "/soap/orders", version)
        sent = order()
        answer = zeep.helpers.serialize_object(client.service.PlaceOrder(**{**sent, "note": zeep.xsd.Nil}), dict)
        assert answer.pop("received") == RECEIVED
        assert answer.pop("caller") is None  # what zeep makes of an empty text
        assert answer.pop("unused") is None
        assert answer["address"].pop("zip") is None
        assert [tag or "" for tag in answer.pop("tags")] == sent.pop("tags")
        assert answer == sent
        done("zeep", dotted(version), *FEATURES[:-2])

    def test_absent_null_and_empty_are_three_things(self, served, version):
        client = zeep_client(served.url + "/soap/orders", version)
        sent = {**order(), "tags": [], "lines": [], "note": "", "more": []}
        answer = client.service.PlaceOrder(**sent)
        assert (answer.tags, answer.lines, answer.note, answer.more) == ([], [], None, [])
        assert "note=str" in answer.received
        assert "more" not in answer.received

    def test_rows_and_values_of_any_type(self, served, version):
        client = zeep_client(served.url + "/soap/orders", version)
        rows = client.service.ListOrders()
        rows = rows if isinstance(rows, list) else rows.item
        assert [(row.number, row.customer) for row in rows] == [(1, "A"), (2, "B")]
        answer = client.service.Anything(
            value=zeep.xsd.AnyObject(zeep.xsd.Long(), 7), more=zeep.xsd.AnyObject(zeep.xsd.String(), "7"),
            tags=[zeep.xsd.AnyObject(zeep.xsd.Boolean(), True)],
        )  # fmt: skip
        assert (answer.value, answer.more, answer.tags) == (7, "7", [True])
        assert answer.python == "{'value': 7, 'more': '7', 'tags': [True]}"

    def test_a_refusal_is_a_typed_fault(self, served, version):
        client = zeep_client(served.url + "/soap/orders", version)
        with pytest.raises(zeep.exceptions.Fault) as caught:
            client.service.FindOrder(number=404)
        detail = client.wsdl.types.deserialize(caught.value.detail[0])
        assert caught.value.message == "There is no order 404 ✓"
        assert caught.value.code == ("soap:Client" if version == "11" else "soap:Sender")
        assert (detail.status, detail.code, detail.detail) == (404, "no-such-order", "There is no order 404 ✓")
        with pytest.raises(zeep.exceptions.Fault) as caught:
            client.service.FindOrder(number=500)
        assert caught.value.code == ("soap:Server" if version == "11" else "soap:Receiver")
        assert "kaboom" not in str(caught.value)
        done("zeep", dotted(version), "fault")

    def test_input_faults_are_in_the_detail(self, served, version):
        client = zeep_client(served.url + "/soap/orders", version)
        with pytest.raises(zeep.exceptions.Fault) as caught:
            client.service.PlaceOrder(**{**order(), "segment": "tin", "day": "soon"})
        detail = client.wsdl.types.deserialize(caught.value.detail[0])
        assert [(error.pointer, error.code) for error in detail.errors.error] == [
            ("/segment", "not-allowed"),
            ("/day", "invalid-format"),
        ]

    def test_http_basic(self, served, version):
        with pytest.raises(requests.HTTPError, match="401"):
            zeep_client(served.url + "/soap/secured", version, "Secured")
        client = zeep_client(served.url + "/soap/secured", version, "Secured", PARTNER)
        assert client.service.PlaceOrder(**order()).caller == "api"
        client.transport.session.auth = ("api", "wrong")
        with pytest.raises(zeep.exceptions.Fault) as caught:
            client.service.FindOrder(number=1)
        assert client.wsdl.types.deserialize(caught.value.detail[0]).code == "unauthenticated"
        done("zeep", dotted(version), "401")

    @pytest.mark.parametrize("digest", [False, True])
    def test_a_username_token(self, served, version, digest):
        from zeep.wsse.username import UsernameToken

        client = zeep_client(served.url + "/soap/tokens", version, "Tokens")
        with pytest.raises(zeep.exceptions.Fault):
            client.service.PlaceOrder(**order())
        client.wsse = UsernameToken("api", ENVIRONMENT["TOKEN_PASSWORD"], use_digest=digest)
        assert client.service.PlaceOrder(**order()).caller == "api"
        client.wsse = UsernameToken("api", "wrong", use_digest=digest)
        with pytest.raises(zeep.exceptions.Fault):
            client.service.PlaceOrder(**order())


class TestSuds:
    """suds speaks SOAP 1.1 alone."""

    @pytest.fixture
    def client(self, served):
        from suds.client import Client

        return Client(served.url + "/soap/orders?wsdl&soap=1.1", cache=None, faults=True)

    def test_every_kind_of_value_comes_back_as_it_was_sent(self, client):
        sent = order()
        sent["scan"] = base64.b64encode(SCAN).decode()
        del sent["note"]
        answer = client.service.PlaceOrder(**sent)
        assert str(answer.received) == RECEIVED.replace(";note=NoneType", "")
        assert (answer.number, answer.customer, answer.urgent, answer.segment) == (sent["number"], TEXT, True, "gold")
        assert (answer.day, answer.made_at, answer.total, answer.weight) == (
            sent["day"], sent["made_at"], sent["total"], sent["weight"],
        )  # fmt: skip
        assert base64.b64decode(answer.scan) == SCAN
        assert [str(tag or "") for tag in answer.tags] == sent["tags"]
        assert (answer.address.geo.lat, answer.address.geo.lon) == (52.25, -1.5)
        assert [(line.number, line.item, line.price) for line in answer.lines] == [
            (1, "book", decimal.Decimal("1.50")), (2, "pen", decimal.Decimal("0.10")),
        ]  # fmt: skip
        done("suds", "1.1", *(name for name in FEATURES[:-2] if name != "null"))

    def test_null_is_sent_as_null(self, client):
        from suds import null

        assert "note=NoneType" in str(client.service.PlaceOrder(**{**order(), "scan": "AA==", "note": null()}).received)
        done("suds", "1.1", "null")

    def test_a_refusal_is_a_typed_fault(self, client):
        import suds

        with pytest.raises(suds.WebFault) as caught:
            client.service.FindOrder(number=404)
        fault = caught.value.fault
        assert (fault.faultcode, fault.faultstring) == ("soap:Client", "There is no order 404 ✓")
        assert (fault.detail.GatewayFault.status, fault.detail.GatewayFault.code) == ("404", "no-such-order")
        done("suds", "1.1", "fault")

    def test_http_basic(self, served):
        from suds.client import Client
        from suds.transport import TransportError
        from suds.transport.http import HttpAuthenticated

        with pytest.raises(TransportError, match="401"):
            Client(served.url + "/soap/secured?wsdl", cache=None)
        transport = HttpAuthenticated(username=PARTNER[0], password=PARTNER[1])
        client = Client(served.url + "/soap/secured?wsdl&soap=1.1", cache=None, transport=transport)
        assert client.service.PlaceOrder(**{**order(), "scan": "AA=="}).caller == "api"
        done("suds", "1.1", "401")


def dotted(version):
    return ".".join(version)


def run(command, folder, **more):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, **more)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def features(calls):
    """What a client in another language did as it should, of the JSON document with what each of its calls gave."""
    placed, listed, faults = calls["placed"], calls["listed"], calls["faults"]
    lines = [(int(line["number"]), line["item"], float(line["price"])) for line in placed["lines"]]
    address = placed["address"]
    nulled = calls.get("nulled", placed["received"])
    return {
        "simple": (int(placed["number"]), placed["urgent"], float(placed["weight"])) == (9007199254740991, True, 0.1),
        "Unicode": placed["customer"] == TEXT,
        "nested": (address["street"], float(address["geo"]["lat"]), lines)
        == ("Main & 1st", 52.25, [(1, "book", 1.5), (2, "pen", 0.1)]),
        "list": ([tag or "" for tag in placed["tags"]], [int(one) for one in placed["more"]]) == (["a", "", "ż"], [7])
        and [(int(row["number"]), row["customer"]) for row in listed] == [(1, "A"), (2, "B")],
        "null": "note=NoneType" in nulled and placed.get("note") is None,
        "enum": placed["segment"] == "gold",
        "date": placed["day"].startswith("2026-01-31") and placed["made_at"].startswith("2026-01-31T12:30:15"),
        "decimal": decimal.Decimal(placed["total"]) == decimal.Decimal("1234.50"),
        "binary": base64.b64decode(placed["scan"]) == SCAN,
        "fault": (faults["missing"]["code"], int(faults["missing"]["status"]), faults["missing"]["message"])
        == ("no-such-order", 404, "There is no order 404 ✓")
        and (faults["broken"]["code"], int(faults["broken"]["status"])) == ("internal-error", 500),
        "401": calls["refused"] is True and calls["caller"] == "api",
    }


FEATURES = ("simple", "Unicode", "nested", "list", "null", "enum", "date", "decimal", "binary", "fault", "401")
#: What each client was seen to do, by client and SOAP version.
MATRIX = {}


def check_calls(client, version, calls):
    """Each kind of value came as it was sent, and refusals were understood."""
    found = MATRIX[client, version] = features(calls)
    assert tuple(found) == FEATURES
    assert [name for name, right in found.items() if not right] == [], calls
    expected = RECEIVED if "nulled" not in calls else RECEIVED.replace(";note=NoneType", "")
    assert calls["placed"]["received"] == expected


def done(client, version, *names):
    """Note what a client in this process was asserted to do."""
    MATRIX.setdefault((client, version), {}).update(dict.fromkeys(names, True))


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_php(served, version):
    missing("php", "php-cli php-soap")
    if "soap" not in run(["php", "-m"], "/"):
        pytest.skip("server missing: PHP's SoapClient (apt-get install php-soap)")
    calls = json.loads(run(["php", str(CLIENTS / "client.php"), served.url, version], CLIENTS))
    check_calls("PHP SoapClient", version, calls)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_node_soap(served, version):
    missing("node", "nodejs npm")
    if not (CLIENTS / "node_modules" / "soap").is_dir():
        pytest.skip("server missing: node's soap (npm ci in tests/journeys/soap_clients)")
    check_calls(
        "node soap", version, json.loads(run(["node", str(CLIENTS / "client.cjs"), served.url, version], CLIENTS))
    )


def fetch_wsdl(served, query, path):
    path.write_bytes(served.get("/soap/orders?" + query).content)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_gsoap(served, version, tmp_path):
    missing("wsdl2h", "gsoap libgsoap-dev")
    missing("g++", "g++")
    fetch_wsdl(served, f"wsdl&soap={version}", tmp_path / "orders.wsdl")
    shutil.copy(CLIENTS / "client.cpp", tmp_path)
    name = "OrdersSoap" + version.replace(".", "") + "Binding"
    run(["wsdl2h", "-o", "orders.h", "orders.wsdl"], tmp_path)
    run(["soapcpp2", "-j", "-C", "-L", "-x", f"-{version[-1]}", "-I/usr/share/gsoap/import", "orders.h"], tmp_path)
    names = [f"-DPROXY={name}Proxy", f'-DPROXY_HEADER="soap{name}Proxy.h"', f'-DNAMESPACES="{name}.nsmap"']
    sources = ["client.cpp", "soapC.cpp", f"soap{name}Proxy.cpp"]
    run(["g++", "-O0", "-w", "-std=c++11", *names, *sources, "-o", "client", "-lgsoap++"], tmp_path)
    check_calls("gSOAP", version, json.loads(run(["./client", served.url], tmp_path)))


#: What Debian's libjaxws-java and libjaxb-java bring; the order does not matter.
JARS = (
    "FastInfoset codemodel dtd-parser geronimo-annotation-1.3-spec gmbal istack-commons-runtime istack-commons-tools "
    "javax.activation javax.xml.soap-api jaxb-api jaxb-core jaxb-impl jaxb-runtime jaxb-xjc jaxws-api jaxws-rt jaxws-tools "
    "jws-api metro-policy mimepull rngom saaj-impl stax-ex stax2-api streambuffer txw2 xml-resolver xsom"
)


@pytest.fixture(scope="module")
def java(soap_gateway, tmp_path_factory):
    """The command that runs the JAX-WS client."""
    missing("javac", "default-jdk-headless")
    jars = [Path(f"/usr/share/java/{name}.jar") for name in JARS.split()]
    if not all(jar.exists() for jar in jars if "jaxws" in jar.name):
        pytest.skip("server missing: JAX-WS (apt-get install libjaxws-java libjaxb-java)")
    folder = tmp_path_factory.mktemp("java")
    path = ":".join(str(jar) for jar in jars if jar.exists())
    fetch_wsdl(soap_gateway, "wsdl", folder / "orders.wsdl")
    importer = [
        "java",
        "-cp",
        path,
        "com.sun.tools.ws.WsImport",
        "-quiet",
        "-extension",
        "-keep",
        "-Xnocompile",
        "-p",
        "orders",
    ]
    run([*importer, "orders.wsdl"], folder)
    # All of them: nobody refers to package-info, which says that elements are qualified.
    sources = [str(CLIENTS / "Client.java"), *map(str, (folder / "orders").glob("*.java"))]
    run(["javac", "-nowarn", "-encoding", "UTF-8", "-cp", path, "-d", ".", *sources], folder)
    return ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{path}:{folder}", "Client"]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_java(served, java, version):
    check_calls("JAX-WS", version, json.loads(run([*java, served.url, version], "/")))


def test_the_matrix_of_clients_is_whole():
    """Each client that ran above did everything. ``pytest -rP`` shows the matrix."""
    print(f"{'':16} SOAP " + " ".join(f"{name:>7}" for name in FEATURES))
    for (client, version), found in sorted(MATRIX.items()):
        marks = " ".join(f"{'yes' if found.get(name) else '-':>7}" for name in FEATURES)
        print(f"{client:16} {version:4} {marks}")
        # A test that was chosen alone leaves gaps; what was tried was right.
        assert all(found.values()), (client, version)
