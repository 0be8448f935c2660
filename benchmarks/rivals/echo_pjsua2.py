"""Echo every call with `pjsua2`, or connect all of them with each other, on the null sound device."""

import sys

import pjsua2 as pj

MODE = sys.argv[2]
calls = {}
talking = {}
ended = []
"""Calls that may be deleted: doing it in their own callback would leave their media behind."""


class Call(pj.Call):
    def onCallState(self, prm):
        if self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
            ended.append(self.getId())

    def onCallMediaState(self, prm):
        media = self.getAudioMedia(-1)
        if MODE == "echo":
            media.startTransmit(media)
            return
        for other in talking.values():
            media.startTransmit(other)
            other.startTransmit(media)
        talking[self.getId()] = media


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
configuration.medConfig.clockRate = 8000
configuration.medConfig.noVad = True
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
for codec in endpoint.codecEnum2():
    endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)
account_configuration = pj.AccountConfig()
account_configuration.idUri = "sip:service@127.0.0.1"
account_configuration.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
account_configuration.mediaConfig.transportConfig.port = 20000
account_configuration.mediaConfig.transportConfig.portRange = 8000
account = Account()
account.create(account_configuration)
print("ready", flush=True)
while True:
    endpoint.libHandleEvents(10)
    while ended:
        gone = ended.pop()
        talking.pop(gone, None)
        calls.pop(gone, None)
