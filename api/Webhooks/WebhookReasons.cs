using Contracts;

namespace Api.Webhooks;

/// <summary>Why a delivery failed, or an endpoint is disabled: every code, its sentence and its remedy.</summary>
public static class WebhookReasons
{
    public const string
        StatusRefused = "StatusRefused", Redirected = "Redirected", Gone = "EndpointGone", Timeout = "Timeout", NameNotResolved = "NameNotResolved", AddressRefused = "AddressRefused",
        ConnectFailed = "ConnectFailed", TlsFailed = "TlsFailed", NotHttp = "NotHttp", EventExpired = "EventExpired", SecretUnreadable = "SecretUnreadable",
        ByUser = "DisabledByUser", FailingTooLong = "FailingTooLong";

    private static readonly Dictionary<string, (string Message, string Remedy)> Table = new()
    {
        [StatusRefused] = ("It did not answer with a status of 200 to 299.", "Look at its log and at the excerpt of its answer; it is tried again by itself."),
        [Redirected] = ("It answered with a redirect, which is not followed.", "Set the endpoint's url to where it leads."),
        [Gone] = ("It answered 410, which says that it wants nothing any more.", "Enable the endpoint again if that was a mistake; deliveries go on where they ended."),
        [Timeout] = ("It did not answer within 15 s.", "Answer first and do the work afterwards."),
        [NameNotResolved] = ("Its name could not be resolved.", "Look at the url and at the name's DNS records."),
        [AddressRefused] = ("Its name has only addresses that this service does not post to: private, loopback, link-local and the like.", "Give it a public address, or have an operator allow its network (Webhooks__AllowedNetworks)."),
        [ConnectFailed] = ("No connection could be made, or it broke before the answer.", "Look whether it runs and can be reached from here."),
        [TlsFailed] = ("The TLS handshake failed.", "Look at its certificate: its name, its chain and its time."),
        [NotHttp] = ("What it answered is not HTTP, or more than an answer may be.", "Look at what listens there."),
        [EventExpired] = ("The event is not kept any more.", "Nothing can be done; read the present state."),
        [SecretUnreadable] = ("The endpoint's secret cannot be read with the service's present keys.", "Rotate the endpoint's secret."),
        [ByUser] = ("Somebody disabled it.", "Enable it; deliveries go on where they ended."),
        [FailingTooLong] = ("Every delivery has failed for five days.", "Mend the receiver, then enable the endpoint; deliveries go on where they ended."),
    };

    public static IEnumerable<string> All => Table.Keys;

    public static Failure Failure(string reason, DateTimeOffset at, int? status = null) => Table.TryGetValue(reason, out var text)
        ? new(reason, status is null ? text.Message : $"{text.Message} (HTTP {status})", text.Remedy, at)
        : throw new InvalidOperationException($"no such reason: {reason}");
}
