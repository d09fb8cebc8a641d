<?php
// PHP's SoapClient: calls everything once and prints what it got as one JSON document. Arguments: URL of the gateway, SOAP version.
ini_set('precision', 17);
ini_set('serialize_precision', -1);
ini_set('soap.wsdl_cache_enabled', 0);
[$_, $base, $version] = $argv;
$options = [
    'soap_version' => $version === '1.2' ? SOAP_1_2 : SOAP_1_1, 'features' => SOAP_SINGLE_ELEMENT_ARRAYS,
    'cache_wsdl' => WSDL_CACHE_NONE, 'exceptions' => true,
];
$order = [
    'number' => 9007199254740991, 'customer' => 'Zażółć gęślą 日本 😀 & <b>', 'urgent' => true, 'segment' => 'gold',
    'day' => '2026-01-31', 'made_at' => '2026-01-31T12:30:15Z', 'total' => '1234.50', 'weight' => 0.1,
    'scan' => implode('', array_map('chr', range(0, 255))), 'tags' => ['a', '', 'ż'],
    'address' => ['street' => 'Main & 1st', 'geo' => ['lat' => 52.25, 'lon' => -1.5]],
    'lines' => [['number' => 1, 'item' => 'book', 'price' => '1.50'], ['number' => 2, 'item' => 'pen', 'price' => '0.10']],
    'note' => null, 'more' => [7],
];

function fault(callable $call): array
{
    try {
        $call();
    } catch (SoapFault $fault) {
        $detail = $fault->detail->GatewayFault;
        return ['message' => $fault->getMessage(), 'code' => $detail->code, 'status' => $detail->status];
    }
    return [];
}

$client = new SoapClient("$base/soap/orders?wsdl&soap=$version", $options);
$placed = $client->PlaceOrder($order);
$placed->scan = base64_encode($placed->scan);
$faults = [
    'missing' => fault(fn () => $client->FindOrder(['number' => 404])),
    'broken' => fault(fn () => $client->FindOrder(['number' => 500])),
];
$refused = false;
try {
    new SoapClient("$base/soap/secured?wsdl&soap=$version", $options);
} catch (SoapFault $fault) {
    $refused = true;
}
$secured = new SoapClient("$base/soap/secured?wsdl&soap=$version", $options + ['login' => 'api', 'password' => 'partner-password']);
$caller = $secured->PlaceOrder($order)->caller;
echo json_encode([
    'sent' => ['note' => null], 'placed' => $placed, 'listed' => $client->ListOrders([])->item, 'faults' => $faults,
    'caller' => $caller, 'refused' => $refused,
], JSON_THROW_ON_ERROR);
