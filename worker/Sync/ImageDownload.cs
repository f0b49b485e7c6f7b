using System.Net;
using System.Net.Http.Headers;
using Contracts;
using Worker.Images;

namespace Worker.Sync;

// Files of images from the API, by the node's own token, which is read at each, so that one that was rotated is taken up. No redirect is followed: the token is for the API alone.
internal sealed class ImageDownload : IImageSource, IDisposable
{
    private readonly Uri _api;
    private readonly NodeToken _token;
    private readonly HttpMessageInvoker _http;

    public ImageDownload(string apiUrl, string tokenFile)
    {
        (_api, _token) = (new Uri(apiUrl), new NodeToken(tokenFile));
        _http = new HttpMessageInvoker(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            // An API on this machine is never reached through a proxy.
            UseProxy = !_api.IsLoopback,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectTimeout = TimeSpan.FromSeconds(15),
            MaxResponseHeadersLength = 16,
            MaxResponseDrainSize = 0,
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(30),
        });
    }

    public async Task<Stream> OpenAsync(string sha256, long from, CancellationToken ct)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(_api, NodeProtocol.ImageFilesPath + sha256));
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", await _token.ReadAsync());
        if (from > 0)
            request.Headers.Range = new RangeHeaderValue(from, null);
        var answer = await _http.SendAsync(request, ct);
        var begins = answer.StatusCode == HttpStatusCode.OK ? 0 : answer.StatusCode == HttpStatusCode.PartialContent ? answer.Content.Headers.ContentRange?.From : null;
        if (begins == from)
            return await answer.Content.ReadAsStreamAsync(ct);
        answer.Dispose();
        throw new IOException(begins is null ? $"the API answers {(int)answer.StatusCode}" : $"the API answers from byte {begins} on instead of {from}");
    }

    public void Dispose() => _http.Dispose();
}
