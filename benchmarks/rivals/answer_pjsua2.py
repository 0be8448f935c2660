"""Answer every call with `pjsua2`, with its conference bridge on the null sound device."""

import sys

import pjsua2 as pj

calls = {}
ended = []
"""Calls that may be deleted: doing it in their own callback would leave their media behind."""


class Call(pj.Call):
    def onCallState(self, prm):
        if self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
            ended.append(self.getId())


class Account(pj.Account):
    def onIncomingCall(self, prm):
        call = calls[prm.callId] = Call(self, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


endpoint = pj.Endpoint()
endpoint.libCreate()
configuration = pj.EpConfig()
configuration.logConfig.level = configuration.logConfig.consoleLevel = 0
configuration.uaConfig.threadCnt = 0
configuration.uaConfig.mainThreadOnly = True
configuration.uaConfig.maxCalls = 1000
configuration.medConfig.maxMediaPorts = 2000
try:
    endpoint.libInit(configuration)
except pj.Error:
    sys.exit("pjsua2 was built for fewer calls")
transport = pj.TransportConfig()
transport.boundAddress = "127.0.0.1"
transport.port = int(sys.argv[1])
endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
endpoint.libStart()
endpoint.audDevManager().setNullDev()
account_configuration = pj.AccountConfig()
account_configuration.idUri = "sip:service@127.0.0.1"
account = Account()
account.create(account_configuration)
print("ready", flush=True)
while True:
    endpoint.libHandleEvents(10)
    while ended:
        calls.pop(ended.pop(), None)
