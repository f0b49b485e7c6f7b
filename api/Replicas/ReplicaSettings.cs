namespace Api.Replicas;

/// <summary>Setting <c>Replica__Url</c>: the address of this replica (http or https, a host and perhaps a port) by which the other replicas reach it; none: they do not,
/// and what is asked of them for guests whose nodes are connected here is answered 503. <c>Id</c>: of this run of the program.</summary>
public sealed record ReplicaSettings(Guid Id, Uri? Url)
{
    public const string Name = "Replica__Url";

    public static ReplicaSettings Read(IConfiguration configuration)
    {
        var text = configuration["Replica:Url"];
        if (string.IsNullOrWhiteSpace(text)) return new(Guid.NewGuid(), null);
        return Uri.TryCreate(text, UriKind.Absolute, out var url) && (url.Scheme == Uri.UriSchemeHttp || url.Scheme == Uri.UriSchemeHttps)
            && url is { PathAndQuery: "/", Fragment: "", UserInfo: "", Host.Length: > 0 }
            ? new(Guid.NewGuid(), url)
            : throw new InvalidOperationException($"Replica:Url takes the address of this replica alone, such as http://10.1.0.5:8080, not '{text}'.");
    }
}
