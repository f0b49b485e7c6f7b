using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization;
using Contracts;
using Microsoft.Extensions.Logging;
using Worker.Channels;
using Worker.Checks;
using Worker.Sync;

namespace Worker.Fleet;

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(JoinTokenCreate))]
[JsonSerializable(typeof(JoinTokenView))]
internal sealed partial class FleetJson : JsonSerializerContext;

// How the nodes of a fleet join: it asks for a join token of each name with the admin key, and redeems it as any worker does (JoinNode).
// Guarantees: a node that has its token asks for nothing; the admin key is read from its file and goes to the API only; what is asked in vain is asked again, unless the
// API says that it never will do. A node of that name whose directory is gone is replaced once it is known to be unreachable.
internal sealed class FleetJoining : IDisposable
{
    private const int TokenSeconds = 600, MaxAnswerBytes = 16 * 1024;
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2), AttemptLimit = TimeSpan.FromSeconds(30);
    private readonly WorkerOptions _options;
    private readonly string _adminKeyFile;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly RareWarning _waits;
    private readonly HttpMessageInvoker _http;
    private readonly Uri _address;

    public FleetJoining(WorkerOptions options, string adminKeyFile, TimeProvider time, ILogger log)
    {
        (_options, _adminKeyFile, _time, _log, _waits) = (options, adminKeyFile, time, log, new RareWarning(time, log, "Joining"));
        _address = new Uri(new Uri(options.ApiUrl), "/v1/nodes/join-tokens");
        _http = new HttpMessageInvoker(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false, UseProxy = !_address.IsLoopback, ConnectTimeout = AttemptLimit, MaxResponseHeadersLength = 16 });
    }

    /// <summary>Null when the node has its token now; else why it never will.</summary>
    public async Task<string?> JoinAsync(string name, CancellationToken ct)
    {
        var directory = FleetNode.DirectoryOf(_options, name);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var (tokenFile, joinTokenFile) = (FleetNode.TokenFileOf(directory), Path.Combine(directory, "join.token"));
        while (!File.Exists(tokenFile))
        {
            var (token, refusal) = await AskAsync(name, ct);
            if (refusal is not null)
                return refusal;
            if (token is not null)
            {
                Store(joinTokenFile, token);
                var outcome = await new JoinNode(_options.ApiUrl, joinTokenFile, tokenFile, Installation.Of(directory), _time, _log).RunAsync(ct);
                File.Delete(joinTokenFile);
                if (outcome is not JoinOutcome.Refused refused)
                    return null;
                if (refused.Code != JoinReasons.NodeInUse.Code)
                    return $"{refused.Code}: {refused.Message} {refused.Remedy}";
                Wait($"{name} is in use: {refused.Message}");
            }
            await Task.Delay(Pause, _time, ct);
        }
        return null;
    }

    public void Dispose() => _http.Dispose();

    /// <summary>Neither a token nor a refusal: it is worth asking again.</summary>
    private async Task<(string? Token, string? Refusal)> AskAsync(string name, CancellationToken ct)
    {
        using var limit = new CancellationTokenSource(AttemptLimit, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, ct);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, _address);
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", (await File.ReadAllTextAsync(_adminKeyFile, ct)).Trim());
            request.Content = new ByteArrayContent(JsonSerializer.SerializeToUtf8Bytes(new JoinTokenCreate(name, TokenSeconds, true), FleetJson.Default.JoinTokenCreate));
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            using var answer = await _http.SendAsync(request, either.Token);
            if (answer.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
                return (null, $"the API does not take the key of {_adminKeyFile}");
            if (answer.StatusCode == HttpStatusCode.Created)
            {
                var buffer = new byte[MaxAnswerBytes];
                await using var stream = await answer.Content.ReadAsStreamAsync(either.Token);
                var length = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, either.Token);
                return (JsonSerializer.Deserialize(buffer.AsSpan(0, length), FleetJson.Default.JoinTokenView)?.Token, null);
            }
            Wait($"the API answers {(int)answer.StatusCode} to the wish for a join token of {name}");
        }
        catch (Exception problem) when (problem is HttpRequestException or IOException or JsonException || (problem is OperationCanceledException && !ct.IsCancellationRequested))
        {
            Wait(problem.Message);
        }
        return (null, null);
    }

    private void Wait(string why)
    {
        lock (_waits)
            _waits.Add($"trying on: {why}");
    }

    private static void Store(string path, string secret)
    {
        File.Delete(path);
        using var stream = new FileStream(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite });
        stream.Write(System.Text.Encoding.ASCII.GetBytes(secret));
    }
}
