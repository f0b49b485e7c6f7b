namespace Api.Http;

/// <summary>The verb <c>health</c>, for whatever watches a container: asks the API that runs with the same settings on this machine.
/// Ends with 0 when it and its database answer, else with 1 and a sentence on standard error.</summary>
public static class HealthProbe
{
    public const string Verb = "health";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(4);

    /// <summary>The first of the addresses that is asked without TLS, by loopback where it stands for every address; null when there is none.</summary>
    public static Uri? AddressOf(string? urls)
    {
        foreach (var url in (urls ?? "http://localhost:5000").Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var own = url.Replace("//*", "//127.0.0.1", StringComparison.Ordinal).Replace("//+", "//127.0.0.1", StringComparison.Ordinal)
                .Replace("//0.0.0.0", "//127.0.0.1", StringComparison.Ordinal).Replace("//[::]", "//[::1]", StringComparison.Ordinal);
            if (Uri.TryCreate(own, UriKind.Absolute, out var address) && address.Scheme == Uri.UriSchemeHttp)
                return new Uri(address, "/health");
        }
        return null;
    }

    public static async Task<int> RunAsync(string? urls, TextWriter problems)
    {
        if (AddressOf(urls) is not { } address)
            return await FailAsync(problems, $"no http address among Urls ({urls})");
        using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false }) { Timeout = Limit };
        try
        {
            using var answer = await client.GetAsync(address);
            return answer.IsSuccessStatusCode ? 0 : await FailAsync(problems, $"{address} answers {(int)answer.StatusCode}");
        }
        catch (Exception problem) when (problem is HttpRequestException or OperationCanceledException)
        {
            return await FailAsync(problems, $"{address} does not answer: {problem.Message}");
        }
    }

    private static async Task<int> FailAsync(TextWriter problems, string sentence)
    {
        await problems.WriteLineAsync($"health: {sentence}");
        return 1;
    }
}
